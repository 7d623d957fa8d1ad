"""Questions to a reader's own torch model, asked as its width grows: sharpness and coordinates."""
