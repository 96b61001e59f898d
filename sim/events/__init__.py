"""The discrete-event driver: many peers in virtual time, and the exchanges between them."""
