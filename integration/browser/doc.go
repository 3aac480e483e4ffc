// Package browser tests the chat of examples/chat as a visitor meets it: the demo
// with its three nodes, pages in a real browser, a line that is cut, a node that is
// killed, and the numbers by which a page shows that it has missed nothing. It needs
// what package integration needs, and Chromium.
//
//	go test -v -artifacts -outputdir /tmp/chat .   # keeps the pictures that it takes
package browser
