"""From clips through tubelets to concepts, and the run that holds them."""
