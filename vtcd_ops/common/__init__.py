"""What every package needs: errors, checks of settings, progress, the token grid's geometry."""
