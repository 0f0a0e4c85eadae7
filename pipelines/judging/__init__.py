"""What people say of images and their labels."""
