// Package fleet knows the hosts of a tenant: each says what it is at and that it lives, and
// whoever asks gets all of it.
//
// A Reporter keeps hosts/<id>, which stays, and alive/<id>/<instance>, which goes with the lease
// of its process. It promises to write only what has changed, no more often than once in five
// seconds, also on average of all hosts to which the same happens; to write again what etcd
// has lost; and never to hold up those whose state it tells. Read and Follow return what all
// hosts said, and whether each is up, down, or two.
//
// Caveats: what a host says is some seconds old, and a host that was killed counts as up
// until its lease ends. Two processes with one id overwrite what the other says: so neither
// counts, and the ids are to be made different.
package fleet
