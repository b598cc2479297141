#!/bin/sh
# Makes a VM from an image of the system alone one that onefed boots. Contextualization runs it as root in every boot;
# what is there already is not fetched again.
set -u

# @VALUES@
