"""Where replies come from: a provider over HTTP, or the engine of the embedded model, behind one route."""
