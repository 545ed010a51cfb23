"""The page: templates, static files, and the routes that render them."""
