package store

import (
	"crypto/tls"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refusing is a connection whose server has sent an alert and closed it.
type refusing struct{ net.Conn }

func (refusing) Write([]byte) (int, error)       { return 0, syscall.EPIPE }
func (refusing) SetReadDeadline(time.Time) error { return nil }
func (refusing) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "remote error", Err: tls.AlertError(48)}
}

func TestAWriteThatFailsTellsWhatTheServerAlertedOf(t *testing.T) {
	h := &handshakes{trouble: &trouble{}}
	j := &judged{Conn: refusing{}, handshakes: h}
	if _, err := j.Write([]byte("PRI")); err == nil {
		t.Fatal("the write did not fail")
	}
	if h.trouble.err == nil || !strings.Contains(h.trouble.err.Error(), "unknown certificate authority") {
		t.Fatalf("noted: %v", h.trouble.err)
	}
}
