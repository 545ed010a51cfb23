"""What the images need beside the packages."""
