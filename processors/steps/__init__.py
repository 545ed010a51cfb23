"""The pipeline's steps, one file each. `processors.pipeline` says their order."""
