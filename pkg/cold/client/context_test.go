package client

func volumeContext() map[string]string {
	return map[string]string{"tier": "cold", "endpoint": "http://127.0.0.1:9000", "bucket": "data", "prefix": "team/vol/"}
}
