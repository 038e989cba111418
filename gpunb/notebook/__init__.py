"""What people touch in a notebook: magics and widgets."""
