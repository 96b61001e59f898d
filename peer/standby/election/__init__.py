"""The election of a server's host: pure, as :mod:`peer.net.endpoint` is."""
