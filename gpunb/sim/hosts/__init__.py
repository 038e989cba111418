"""The machines behind simulated instances, with and without SSH."""
