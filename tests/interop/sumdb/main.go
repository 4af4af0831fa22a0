// Reads a published log with golang.org/x/mod/sumdb, which knows nothing of merkql: opens its
// checkpoint with the key given, reads its tiles, and proves every record, and every older tree, by
// them. Prints the size and the root. Or writes such a log, and prints proofs of it, a line each:
// what is proved, its number, and the hashes.
//
//	sumdb DIRECTORY VKEY
//	sumdb DIRECTORY SKEY SIZE
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type reader struct{ directory string }

func (r reader) Height() int { return 8 }

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		// Go's own paths begin with tile/8/; tlog-tiles leave the height out.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(r.directory, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func bundle(directory string, n, width int64) [][]byte {
	tile := tlog.Tile{H: 8, L: -1, N: n, W: int(width)}
	path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(directory, path))
	check(err)
	var entries [][]byte
	for len(data) > 0 {
		size := binary.BigEndian.Uint16(data)
		entries = append(entries, data[2:2+size])
		data = data[2+size:]
	}
	return entries
}

func put(directory, name string, data []byte) {
	path := filepath.Join(directory, name)
	check(os.MkdirAll(filepath.Dir(path), 0o755))
	check(os.WriteFile(path, data, 0o644))
}

func show(what string, number int64, hashes []tlog.Hash) {
	fmt.Print(what, " ", number)
	for _, hash := range hashes {
		fmt.Print(" ", base64.StdEncoding.EncodeToString(hash[:]))
	}
	fmt.Println()
}

func write(directory, key string, size int64) {
	signer, err := note.NewSigner(key)
	check(err)
	var stored []tlog.Hash
	hashes := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	bundles := map[int64][]byte{}
	for n := int64(0); n < size; n++ {
		entry := []byte(fmt.Sprintf("entry %d", n))
		more, err := tlog.StoredHashes(n, entry, hashes)
		check(err)
		stored = append(stored, more...)
		bundles[n/256] = binary.BigEndian.AppendUint16(bundles[n/256], uint16(len(entry)))
		bundles[n/256] = append(bundles[n/256], entry...)
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		data, err := tlog.ReadTileData(tile, hashes)
		check(err)
		put(directory, strings.Replace(tile.Path(), "tile/8/", "tile/", 1), data)
		if tile.L == 0 {
			tile.L = -1
			path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
			put(directory, path, bundles[tile.N])
		}
	}
	root, err := tlog.TreeHash(size, hashes)
	check(err)
	encoded := base64.StdEncoding.EncodeToString(root[:])
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), size, encoded)
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	check(err)
	put(directory, "checkpoint", signed)
	for index := int64(0); index < size; index += 1 + size/16 {
		proof, err := tlog.ProveRecord(size, index, hashes)
		check(err)
		show("record", index, proof)
		older, err := tlog.TreeHash(index+1, hashes)
		check(err)
		grown, err := tlog.ProveTree(size, index+1, hashes)
		check(err)
		show("tree", index+1, append([]tlog.Hash{older}, grown...))
	}
}

func main() {
	directory := os.Args[1]
	if len(os.Args) == 4 {
		size, err := strconv.ParseInt(os.Args[3], 10, 64)
		check(err)
		write(directory, os.Args[2], size)
		return
	}
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	signed, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	var root tlog.Hash
	copy(root[:], raw)
	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, reader{directory})
	for n := int64(0); n < size; n++ {
		if n%256 == 0 {
			width := size - n
			if width > 256 {
				width = 256
			}
			for i, entry := range bundle(directory, n/256, width) {
				index := n + int64(i)
				proof, err := tlog.ProveRecord(size, index, hashes)
				check(err)
				check(tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)))
			}
		}
	}
	for old := int64(1); old <= size; old += 1 + size/64 {
		older, err := tlog.TreeHash(old, hashes)
		check(err)
		proof, err := tlog.ProveTree(size, old, hashes)
		check(err)
		check(tlog.CheckTree(proof, size, root, old, older))
	}
	fmt.Println(size, base64.StdEncoding.EncodeToString(root[:]))
}
