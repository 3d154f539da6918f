# SPDX-License-Identifier: MIT
"""The paper's results, made again: on the bundled miniatures, or on models and data of one's own.

    python -m reproduce WORK            # half an hour on two cores; resumable
    python -m reproduce WORK --quick    # fewer videos and masks, much wider intervals

A module makes one table or figure, and is found by `reproduce.registry`.
"""
