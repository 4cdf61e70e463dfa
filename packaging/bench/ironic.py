"""Runs the image streaming of the installed ironic-python-agent: ironic.py URL DEVICE ALGORITHM HEX.

The work is all its own: the download, the digest of the stream, the buffered writing, the repair of the table."""

import sys
from unittest import mock

from ironic_python_agent import config  # noqa: F401  (registers the options)
from ironic_python_agent.extensions import standby
from oslo_config import cfg

url, device, algorithm, digest = sys.argv[1:]
cfg.CONF([], project="ironic-python-agent")
agent = standby.StandbyExtension(mock.Mock())
agent.partition_uuids = {}
image = {"id": "bench", "urls": [url], "os_hash_algo": algorithm, "os_hash_value": digest, "disk_format": "raw"}
agent._stream_raw_image_onto_device(image, device)
