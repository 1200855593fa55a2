"""The large model: Wan2.1-T2V-1.3B as a ``VideoPoseTransformer``, trained by the paper's recipe.

docs/large_model.md tells how to use it.
"""
