"""The doctor: examines the configuration of one environment and everything that the gateway there depends on.

`python -m scripts.doctor` looks at the local stack that runs here, else at the process's own environment;
`--local-settings FILE` and `--app NAME --resource-group GROUP` name another one. For each failure it tells the cause
and the command that mends it. It uses the gateway's own parts: what it sees is what the gateway would see.
"""
