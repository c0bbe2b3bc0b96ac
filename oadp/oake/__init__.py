"""OAKE: object-aware knowledge extraction, CLIP's features of whole images, blocks and proposals.

One loop for the three kinds: a reader that decodes and cuts in threads, CLIP's image encoder, a
writer. What is particular to a kind is a :class:`~oadp.oake.task.Task`, in ``globals``, ``blocks``
and ``objects``, which are also the commands.
"""
