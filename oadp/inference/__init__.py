"""Detection in any images, with torch or ONNX Runtime."""
