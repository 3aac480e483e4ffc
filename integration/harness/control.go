package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Control sends a command to POST /control/what of a node, and returns the decoded answer.
func Control[A any](ctx context.Context, n *Node, what string, order any) (answer A, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL+"/control/"+what, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", n.Name, what, resp.Status, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	return answer, err
}

// An Audience is a target of an operation, as the nodes decode it.
type Audience struct {
	Rooms  []string `json:"rooms"`
	Except []string `json:"except"`
}

// Operate has a node change an audience: do is "join", "leave" or "disconnect".
func (n *Node) Operate(do string, a Audience, rooms ...string) {
	n.T.Helper()
	_, err := Control[bool](n.T.Context(), n, "operate", struct {
		Do        string   `json:"do"`
		Namespace string   `json:"namespace"`
		Target    Audience `json:"target"`
		Rooms     []string `json:"rooms"`
	}{do, "/", a, rooms})
	if err != nil {
		n.T.Fatal(err)
	}
}
