"""What more than one family needs of this machine. It knows none of them."""
