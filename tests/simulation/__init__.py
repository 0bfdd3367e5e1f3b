"""A simulated day of the service: its own code, on machines, clocks, a disk and a network that fail.

    world       everything of one run, from the seed to what is wrong at the end
    plan        what a seed decides: who there is, and how much goes wrong
    schedule    time: one heap of callbacks, and an event loop per machine that feeds it
    machines    processes that are paused and killed, with clocks that jump
    hosts       where they run, and the next one is started
    process     one process of the service: `Worker`, `Runner`, `Sender`, `Submitter` as they are
    store       one SQLite in memory, and a trigger for every change
    database    the product's `Database`, on lanes whose commits are undone or not heard of
    outside     image store, engines and receivers, as unreliable as they are
    customers   who submits, asks again, polls, and believes every answer
    operators   who grants, revokes, suspends and changes plans
    chaos       what happens to machines at any time
    echo        answers that come too late, or twice
    laws        what every single commit must respect
    queue_laws  counts, caps and the fair order
    trace       the hash of everything that happened

One thread, no real time: a run depends on its seed alone, and a seed that fails is replayed by

    python -m tests.simulation --seed N --trace

What is not simulated: two transactions at the same time. Each happens at one instant here, as on
SQLite; what PostgreSQL lets happen in between is tested on PostgreSQL.
"""
