"""What came into a peer's run from outside since its checkpoint, on the disk before it counts.

With ``durability: exact``, a peer that was killed computes again, from its checkpoint, what it had
computed, and is told again, by its journal, what it had been told: its neighbours' values, what
became of each exchange, the time. So it comes to the very bits that its neighbours have used, and
asks nobody for anything. This is message logging by the receiver, before anything is sent that
depends on it (Elnozahy, Alvisi, Wang and Johnson, ACM Computing Surveys 34(3), 2002,
doi:10.1145/568522.568525).
"""
