// Package codec makes and reads all bytes that lie in etcd: the head, records,
// keyframes, the parts of long lists, and packs.
//
// Each value is a Protocol Buffers message (wirepb) or, in a pack, plain file
// contents; compressed with zstd; in an envelope that gives kind, format version
// and decompressed size, and has room for signatures. See wirepb/wire.proto and
// envelope.go for the layouts; goldens of them lie in testdata/wire at the top of
// the repository.
//
// Contents lie in their own record or in packs. A record may leave one out that came
// before: in the parent's tree, or in a record since the newest keyframe or founding.
// Of a file it may hold a patch instead, made of such a content: a zstd frame with that
// one as raw dictionary.
//
// Decoding is bounded: no input makes a reader allocate more than the envelope
// declares, and no envelope may declare more than the limits in this package. What
// does not decode is reported as ErrDamaged; what a later version wrote as ErrNewer.
//
// A commit id is the SHA-256 of a record's stored body, which contains the parent's
// commit id. It does not depend on the envelope's signatures.
package codec
