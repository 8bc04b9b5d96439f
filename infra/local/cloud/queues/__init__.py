"""SQS: FIFO queues as AWS has them, and the queues and topics to which AWS itself sends."""
