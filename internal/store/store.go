package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Store is one tenant in etcd. Its methods may be called from several goroutines.
type Store struct {
	client *Client
	coder  *codec.Coder
	tenant string
	keys   keys
	seat   Seat // that its commits compare; zero if none
	// registration is what all that it stages and commits compares; nil if nothing does.
	registration *Registration
}

// Tenant returns the store of the tenant of that name.
func (c *Client) Tenant(name string) *Store {
	return &Store{client: c, coder: c.coder, tenant: name, keys: keys{base: c.cfg.Prefix + "/" + name}}
}

// Base returns what all keys of the tenant begin with.
func (s *Store) Base() string { return s.keys.base }

// Head is a head as it was read.
type Head struct {
	codec.Head
	raw         []byte // what compare-and-swap compares
	modRevision int64
	record      []byte // its stored bytes, if it was committed here and they are few; else nil
}

// Same reports whether h and o are the same bytes in etcd; nil is no head.
func (h *Head) Same(o *Head) bool {
	if h == nil || o == nil {
		return h == o
	}
	return string(h.raw) == string(o.raw)
}

// View is what was seen in etcd at one revision.
type View struct {
	// Head is the head, nil if there is none.
	Head *Head
	// Err is set if the head could not be understood: codec.ErrDamaged or
	// codec.ErrNewer.
	Err error
	// Anew is set on the first view after Follow began to follow, or began again.
	Anew bool

	revision int64
	cluster  uint64
	records  [][]byte // as the watch brought them, the newest last; not necessarily all
}

// After returns the view as it is after head was committed.
func (v View) After(head *Head) View {
	return View{Head: head, revision: max(v.revision, head.modRevision), cluster: v.cluster}
}

// Supersedes reports whether v was seen after w, or on another connection than w.
func (v View) Supersedes(w View) bool {
	return v.Anew || v.revision >= w.revision
}

// View reads the head.
func (s *Store) View(ctx context.Context) (View, error) {
	var v View
	err := s.call(ctx, "read head of "+s.tenant, false, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, s.keys.head())
		if err != nil {
			return err
		}
		v = View{revision: resp.Header.Revision, cluster: resp.Header.ClusterId}
		if len(resp.Kvs) > 0 {
			v.setHead(resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
		}
		return nil
	})
	return v, err
}

func (v *View) setHead(raw []byte, modRevision int64) {
	decoded, err := codec.DecodeHead(raw)
	v.Head, v.Err = &Head{Head: decoded, raw: raw, modRevision: modRevision}, nil
	if err != nil {
		v.Head, v.Err = nil, fmt.Errorf("head: %w", err)
	}
}
