"""Chapter 5: probes and decoders on few patients."""
