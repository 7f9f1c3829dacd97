package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Relay stands between a client and etcd, as a gRPC proxy does: it answers calls and pings
// itself, and connections to it stay open whatever becomes of etcd.
type Relay struct {
	address string
	etcd    *grpc.ClientConn

	mu      sync.Mutex // guards what follows
	verdict func(RPC) Verdict
	deaf    bool            // watches that are opened now bring nothing
	watches map[*watch]bool // that are open
	opened  int             // watches, in all
}

// RPC is what a client asks.
type RPC struct {
	Method  string // "KV/Txn", "Watch/Watch"
	Request []byte // as it is encoded; nil for a stream
}

// Verdict is what becomes of a call. The zero Verdict passes it on, and the answer back.
type Verdict struct {
	Keep bool       // etcd never gets it
	Code codes.Code // answered in place of what etcd answers, unless it is OK
	// Wait, if it is not nil, keeps the answer back until it is closed.
	Wait <-chan struct{}
}

// watch is an open stream. Its channel is closed, with the Relay's lock held, when it is to
// end with the code.
type watch struct {
	silent bool // the Relay's lock guards it
	ended  chan struct{}
	code   codes.Code
}

// NewRelay starts a relay for an etcd's endpoint, which speaks plain text. It ends with the
// test.
func NewRelay(t testing.TB, endpoint string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, target, _ := strings.Cut(endpoint, "://")
	etcd, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(unread{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{address: l.Addr().String(), etcd: etcd, watches: make(map[*watch]bool)}
	server := grpc.NewServer(grpc.ForceServerCodecV2(unread{}), grpc.UnknownServiceHandler(r.handle), grpc.MaxRecvMsgSize(64<<20),
		// As etcd's own server allows.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		etcd.Close()
	})
	return r
}

// Endpoint is what clients are given.
func (r *Relay) Endpoint() string { return "http://" + r.address }

// Judge has a function say what becomes of each call, from several goroutines; nil passes
// all on.
func (r *Relay) Judge(verdict func(RPC) Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict = verdict
}

// Silence keeps from clients all that the open watches bring from now on, and that they end.
func (r *Relay) Silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watches {
		w.silent = true
	}
}

// Deafen has watches that are opened from now on be confirmed, and bring nothing.
func (r *Relay) Deafen(deaf bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = deaf
}

// End ends all open watches.
func (r *Relay) End(code codes.Code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watches {
		w.code = code
		close(w.ended)
		delete(r.watches, w)
	}
}

// Opened is how many watches were ever opened.
func (r *Relay) Opened() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

// judge asks what becomes of a call.
func (r *Relay) judge(c RPC) Verdict {
	r.mu.Lock()
	verdict := r.verdict
	r.mu.Unlock()
	if verdict == nil {
		return Verdict{}
	}
	return verdict(c)
}

// handle serves one call.
func (r *Relay) handle(_ any, client grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(client)
	ctx := client.Context()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, passed(md))
	}
	method := strings.TrimPrefix(full, "/etcdserverpb.")
	switch method {
	case "Watch/Watch":
		return r.watch(ctx, client, full)
	case "Lease/LeaseKeepAlive", "Maintenance/Snapshot":
		return status.Error(codes.Unimplemented, "the relay knows no other stream than watches")
	}
	var request, answer []byte
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	v := r.judge(RPC{Method: method, Request: request})
	if !v.Keep {
		if err := r.etcd.Invoke(ctx, full, &request, &answer); err != nil {
			return err
		}
	}
	if v.Wait != nil {
		select {
		case <-v.Wait:
		case <-ctx.Done():
		}
	}
	if v.Code != codes.OK {
		return status.Error(v.Code, "answered by the relay")
	}
	return client.SendMsg(&answer)
}

// passed is what a client said beside its request, without what belongs to its connection.
func passed(md metadata.MD) metadata.MD {
	md = md.Copy()
	for key := range md {
		if strings.HasPrefix(key, ":") || key == "content-type" || key == "user-agent" {
			delete(md, key)
		}
	}
	return md
}

// watch serves a stream of watches.
func (r *Relay) watch(ctx context.Context, client grpc.ServerStream, full string) error {
	if v := r.judge(RPC{Method: "Watch/Watch"}); v.Code != codes.OK {
		return status.Error(v.Code, "answered by the relay")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	etcd, err := r.etcd.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, full)
	if err != nil {
		return err
	}
	w := &watch{ended: make(chan struct{})}
	r.mu.Lock()
	w.silent = r.deaf
	r.watches[w] = true
	r.opened++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watches, w)
		r.mu.Unlock()
	}()
	requests := &pending{}
	go func() {
		// It ends with the client's context, at the latest when handle returns.
		for {
			var m []byte
			if client.RecvMsg(&m) != nil {
				cancel()
				return
			}
			requests.sent(m)
			if etcd.SendMsg(&m) != nil {
				return
			}
		}
	}()
	done := make(chan error, 1)
	go func() { done <- r.bring(client, etcd, w, requests) }()
	select {
	case err = <-done:
		if !r.silent(w) {
			return err
		}
		select {
		case <-client.Context().Done():
			return err
		case <-w.ended:
		}
	case <-w.ended:
		cancel()
		<-done //nolint:errcheck // It was ended.
	}
	return status.Error(w.code, "ended by the relay")
}

// bring passes on what watches bring.
func (r *Relay) bring(client grpc.ServerStream, etcd grpc.ClientStream, w *watch, requests *pending) error {
	for {
		var m []byte
		if err := etcd.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if !requests.confirmed() && r.silent(w) {
			continue
		}
		if err := client.SendMsg(&m); err != nil {
			return err
		}
	}
}

func (r *Relay) silent(w *watch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return w.silent
}

// pending counts the watches that a client asked for and etcd has not confirmed: etcd's
// answers to those come first, in their order.
type pending struct {
	mu sync.Mutex // guards n
	n  int
}

// sent looks at a request. The one to create a watch is the first field of WatchRequest
// (etcd's rpc.proto), of wire type 2.
func (p *pending) sent(request []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(request) > 0 && request[0] == 1<<3|2 {
		p.n++
	}
}

// confirmed reports whether an answer is a confirmation.
func (p *pending) confirmed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return false
	}
	p.n--
	return true
}

// unread is the codec of messages that nobody looks into.
type unread struct{}

func (unread) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a message is %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (unread) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a message is %T", v)
	}
	*b = data.Materialize()
	return nil
}

// Name is that of the content type that clients of etcd send.
func (unread) Name() string { return "proto" }
