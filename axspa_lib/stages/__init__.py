"""One module an arrow of the chain: read the stage before through `layout`, compute, write, `run.json` last.

Worker notebooks call these functions; nothing here draws or prints results.
"""
