package wire

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pgsocket/socketio/transport/frame"
)

// A Poll is a connection over HTTP long-polling, which is asked for what comes: it does nothing by itself.
type Poll struct {
	client *http.Client
	url    string
}

// OpenPoll opens a connection to the node at addr. Clients of one process should share an http.Client.
func OpenPoll(ctx context.Context, client *http.Client, addr string) (*Poll, error) {
	p := &Poll{client: client, url: "http://" + addr + "/socket.io/?EIO=4&transport=polling"}
	packets, err := p.Next(ctx)
	if err != nil {
		return nil, err
	}
	h, err := frame.ParseOpen([]byte(packets[0]))
	if err != nil {
		return nil, err
	}
	p.url += "&sid=" + h.SID
	return p, nil
}

// Next polls, and returns the packets of the answer, Engine.IO's digit included.
func (p *Poll) Next(ctx context.Context) ([]string, error) {
	body, err := p.do(ctx, http.MethodGet, "")
	return strings.Split(body, "\x1e"), err
}

// Send posts packets.
func (p *Poll) Send(ctx context.Context, packets ...string) error {
	_, err := p.do(ctx, http.MethodPost, strings.Join(packets, "\x1e"))
	return err
}

func (p *Poll) do(ctx context.Context, method, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", method, resp.Status, got)
	}
	return string(got), err
}
