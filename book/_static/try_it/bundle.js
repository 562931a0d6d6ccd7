// The exported tables: fetched when they are needed, compared with the manifest, unpacked.
// The files are made by recsys_tutorial/serving/export/bundle.py, whose docstring has the format.

const TYPES = { float32: Float32Array, uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array };

const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} was not found (${response.status})`);
  return response.arrayBuffer();
}

async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export class Bundle {
  constructor(folder, manifest) {
    this.folder = folder; // a URL that ends in "/"
    this.manifest = manifest;
    this.promises = new Map();
  }

  static async open(folder) {
    const text = new TextDecoder().decode(await fetched(new URL("manifest.json", folder)));
    const manifest = JSON.parse(text);
    if (manifest.format !== 1) throw new Error(`the tables are of format ${manifest.format}, not 1`);
    return new Bundle(folder, manifest);
  }

  // A promise of {name: typed array} of one file; it is fetched once.
  file(name) {
    if (!this.promises.has(name)) {
      const promise = this.read(`${name}.bin.gz`);
      promise.catch(() => this.promises.delete(name)); // the next call tries again
      this.promises.set(name, promise);
    }
    return this.promises.get(name);
  }

  async read(file) {
    const entry = this.manifest.files[file];
    const packed = await fetched(new URL(file, this.folder));
    // Browsers hash on https and on this machine alone; elsewhere gzip's own checksum has to do.
    if (globalThis.crypto?.subtle) {
      const digest = hex(await crypto.subtle.digest("SHA-256", packed));
      if (digest !== entry.sha256) throw new Error(`${file} differs from its checksum: reload the page`);
    }
    const bytes = await unpacked(packed);
    const arrays = {};
    for (const { name, dtype, shape, offset } of entry.arrays) {
      const count = shape.reduce((a, b) => a * b, 1);
      arrays[name] = new TYPES[dtype](bytes, offset, count);
    }
    return arrays;
  }
}

export const lines = (bytes) => new TextDecoder().decode(bytes).split("\n");
