"""Runs the image copying of a tree of fuel-agent: fuel_agent.py TREE URL raw|gzip DEVICE [SIZE MD5].

With a size and a digest it reads the device back, as its manager does when an image's metadata has both."""

import sys

tree, url, container, device, *proof = sys.argv[1:]
sys.path.insert(0, tree)

from fuel_agent.utils import artifact, utils  # noqa: E402
from oslo_config import cfg  # noqa: E402

cfg.CONF([], project="fuel-agent")
chain = artifact.Chain()
for step in (url, artifact.HttpUrl, *([artifact.GunzipStream] if container == "gzip" else []), device):
    chain.append(step)
chain.process()
if proof:
    size, expected = proof
    found = utils.calculate_md5(device, int(size))
    if found != expected:
        sys.exit(f"md5 is {found}, expected {expected}")
