"""How peers talk: bytes (`wire`), one link's protocol (`link`), sockets (`driver`), keys."""
