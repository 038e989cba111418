"""What runs on the rented host: standard library plus ipykernel, Python 3.8 on."""
