"""OAKE, object-aware knowledge extraction: CLIP features of whole images, blocks and proposals.

The three kinds of features share one loop: a reader that decodes images and cuts crops in threads,
CLIP's image encoder, and a writer. The modules ``globals``, ``blocks`` and ``objects`` are the commands,
and each defines the :class:`~oadp.oake.task.Task` of its kind.
"""
