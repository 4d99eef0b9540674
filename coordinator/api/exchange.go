package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// DNSPath is where the control port answers DNS messages (RFC 8484 §4.1).
const DNSPath = "/dns-query"

// DNSMediaType is that of a DNS message in wire format (RFC 8484 §6).
const DNSMediaType = "application/dns-message"

// MaxDNSMessage is the largest DNS message there is, in bytes.
const MaxDNSMessage = 65535

// StatusError is an answer to [Client.Exchange] that is no DNS message: the
// coordinator was reached, and would not.
type StatusError struct {
	Code    int    // of HTTP
	Message string // its first line
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the coordinator answers %d: %s", e.Code, e.Message)
}

// Exchange sends a DNS message by the control connection and returns the answer.
// A coordinator that was reached and would not answer is a [*StatusError].
func (c *Client) Exchange(ctx context.Context, message []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL(DNSPath), bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", DNSMediaType)
	req.Header.Set("Accept", DNSMediaType)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxDNSMessage+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer to a DNS message: %w", err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != DNSMediaType || len(body) > MaxDNSMessage {
		line, _, _ := strings.Cut(string(body[:min(len(body), 200)]), "\n")
		return nil, &StatusError{Code: resp.StatusCode, Message: line}
	}
	return body, nil
}
