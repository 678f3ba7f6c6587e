"""Ray: work in pieces on the nodes of a cluster. Nothing else imports it."""
