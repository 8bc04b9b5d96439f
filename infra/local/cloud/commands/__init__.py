"""Systems Manager's Run Command: documents, commands, and the mailboxes that the machines' agents ask for them."""
