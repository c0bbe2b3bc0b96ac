"""Detection on images of one's own, by torch or by ONNX Runtime."""
