"""Other task queues, each with the writes of a Ketchup task around its jobs.

`writes` has the statements that all of them share. Each module here is one engine as its users
would run it: `install` makes its tables, `submit` is a producer, `work` is a worker process.
"""
