"""What each board last reported, and its history."""
