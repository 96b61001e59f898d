"""Who is away: how that is noticed, and how a peer that was away joins again."""
