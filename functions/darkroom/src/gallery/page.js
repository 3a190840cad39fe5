// Texts of rows are hostile: they enter the document only as text or as values of attributes, and
// only files below the page's folder are linked.
'use strict';
{ // Keeps names local.

const MEMBERS = `key item variant line status image width height bytes thumb model lane ratio size
	attempts cost code message prompt refs vars request provenance warnings extras`.split(/\s+/);
const PICKS = /[p1-5]/;
const TILES = [110, 70, 40, 24, 15, 8, 4]; // On one screen.
const [CAPTION, HEAD] = [24, 36]; // Pixels below an image, and above a group.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const ui = Object.fromEntries(all('[id]').map((node) => [node.id, node]));
const { main, sheet, view } = ui;
const choices = all('.choice');
const copy = (from, ...texts) => {
	const node = from.content.firstElementChild.cloneNode(true);
	texts.forEach((text, i) => (node.children[i].textContent = text));
	return node;
};

let head, sums, marks, edits, pin, tile;
let [rows, shown, lines, at] = [[], [], [], 0];

let storage = {};
try {
	storage = localStorage;
} catch {
	ui.volatile.hidden = false;
}
// Without a prototype, because a key may be any text.
const load = (name) => ({ __proto__: null, ...JSON.parse(storage[`darkroom:${name}`] ?? '{}') });
const store = (name, value) => (storage[`darkroom:${name}`] = JSON.stringify(value));

const link = (path) =>
	/^(images|thumbs)(\/(?!\.{0,2}(\/|$))[^/]+)+$/.test(path) &&
	path.split('/').map(encodeURIComponent).join('/');
const usd = (micros) => `$${(micros / 1e6).toFixed(micros % 1e4 ? 4 : 2)}`;
const markOf = (row) => marks[row.key] ?? '';
const word = (mark) => ({ x: 'rejected', p: 'picked' })[mark] ?? (mark && `${mark} stars`);
const marked = (pattern) => rows.filter((row) => pattern.test(markOf(row)));

// Returns the prompt of an item, or replaces it.
const partsOf = (item) => item.request?.contents?.at(-1)?.parts ?? [];
const promptOf = (item, other) => {
	const holder = partsOf(item).find(({ text }) => text) ?? item;
	const name = holder === item ? 'prompt' : 'text';
	if (other) holder[name] = other;
	return holder[name] ?? '';
};

const read = async (page) => {
	const next = [];
	[head, sums] = ['job', 'sums'].map((id) => JSON.parse(page.getElementById(id).textContent));
	for (const section of all('.rows', page)) {
		const bytes = Uint8Array.from(atob(section.textContent), (letter) => letter.charCodeAt());
		const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
		for (const values of await new Response(stream).json()) {
			const row = {};
			MEMBERS.forEach((name, i) => (row[name] = values[i] ?? ''));
			row.target = head.models[row.model];
			row.model = row.target.name;
			row.prompt ||= promptOf(row.request);
			row.thumb ||= row.image;
			row.shape = Math.min(row.height / row.width || 0, 1.25);
			row.text = [row.key, row.prompt, ...row.vars].join('\n').toLowerCase();
			next.push(row);
		}
	}
	rows = next;
	ui.name.textContent = head.job;
	const counts = Object.entries(sums.counts).flatMap(([name, n]) => (n ? `${n} ${name}` : []));
	ui.sum.textContent = [...counts, usd(sums.cost), head.phase].join(' · ');

	if (!marks) {
		marks = load(head.job);
		edits = load(`${head.job}:prompts`);
		for (const select of choices) {
			const values = new Set(rows.map((row) => row[select.id] || 'none'));
			for (const value of values) select.add(new Option(value));
		}
		head.variables.forEach((name, i) => ui.group.add(new Option(`By ${name}`, i)));
		for (const { id } of head.models) ui.target.add(new Option(id));
	}
	draw();
};

// Tiles have one size, which follows the images and the screen, so that lines have known places.
const draw = () => {
	const { key } = shown[at] ?? {};
	const words = ui.find.value.toLowerCase().split(/\s+/);
	const chosen = choices.filter(({ value }) => value);
	const [mark, by] = [RegExp(ui.mark.value), ui.group.value];
	const found = rows.filter(
		(row) =>
			words.every((text) => row.text.includes(text)) &&
			chosen.every(({ id, value }) => (row[id] || 'none') === value) &&
			mark.test(markOf(row)),
	);
	const groups = Map.groupBy(found, (row) => by && (row[by] || row.vars[by] || 'none'));
	shown = [...groups.values()].flat();
	at = Math.max(0, shown.findIndex((row) => row.key === key));

	const { clientWidth, clientHeight } = main;
	const shape = shown.reduce((most, row) => Math.max(most, row.shape), 0.6);
	const across = Math.sqrt((clientWidth / clientHeight) * shape * TILES[ui.scale.value]);
	const columns = Math.round(across) || 1;
	const tall = Math.round((clientWidth / columns) * shape) + CAPTION;
	const focused = document.activeElement === tile;
	for (const { node } of lines) node?.remove();
	let [top, start] = [0, 0];
	lines = [];
	for (const [name, group] of groups) {
		for (let i = 0; i < group.length; i += columns) {
			const title = by && !i ? `${name} · ${group.length}` : '';
			lines.push({ top, start, title, rows: group.slice(i, i + columns) });
			start += lines.at(-1).rows.length;
			top += tall + (title ? HEAD : 0);
		}
	}
	sheet.style.cssText = `--columns: ${columns}; --tall: ${tall}px; height: ${top}px`;
	render();
	if (focused) tile.focus({ preventScroll: true });
	tell(`${start} of ${rows.length} shown`);
};

const framed = (from, row, path = row.image) => {
	const { prompt: alt, width, height } = row;
	const src = link(path);
	const image = Object.assign(copy(ui.picture), { alt, width, height, src });
	const frame = copy(from, '', row.key);
	frame.firstChild.append(src ? image : copy(ui.reason, row.status, row.message || row.code));
	return frame;
};
// Only lines near the screen, and the line of the current image, are in the document.
const render = () => {
	const { scrollTop, clientHeight } = main;
	const reach = clientHeight * (scrollTop ? 1.5 : 1.05);
	let last = sheet.firstChild;
	for (const line of lines) {
		const { top, start, title, rows } = line;
		if (Math.abs(top - scrollTop) > reach && !rows.includes(shown[at])) {
			line.node?.remove();
			line.node = null;
			continue;
		}
		if (!line.node) {
			line.node = copy(ui.line, title);
			line.node.style.top = `${top}px`;
			line.node.lastChild.append(...rows.map((row) => framed(ui.tile, row, row.thumb)));
			last.after(line.node);
		}
		last = line.node;
		rows.forEach((row, i) => {
			const [node, mark, index] = [last.lastChild.children[i], markOf(row), start + i];
			if (index === at) tile = node;
			Object.assign(node, { index, tabIndex: -(index !== at), ariaPressed: PICKS.test(mark) });
			node.lastChild.textContent = word(mark);
			node.lastChild.dataset.mark = mark;
		});
	}
};
const tell = (text) => {
	const used = Object.values(marks).join('');
	const picked = used.replaceAll('x', '').length;
	const counts = `${picked} picked, ${used.length - picked} rejected`;
	for (const status of all('[role=status]')) status.textContent = `${text} · ${counts}`;
};

const go = (index) => {
	if (shown[index]) at = index;
	render();
	if (view.open) show();
	else tile?.focus({ preventScroll: true });
	tile?.scrollIntoView({ block: 'nearest' });
};
const open = (index = at) => {
	if (shown[at] && !view.open) view.showModal();
	go(index);
};
const mark = (value) => {
	const { key } = shown[at] ?? {};
	if (!key) return;
	marks[key] = value || undefined;
	store(head.job, marks);
	go(at + !!value);
	tell(`${key}: ${word(value) || 'no mark'}`);
};
const compare = () => {
	pin = !pin && shown[at];
	open(at + !!pin);
};
const vertical = (step) => {
	const here = lines.findLastIndex(({ start }) => start <= at);
	const line = lines[here + step];
	if (pin) {
		const other = shown.findIndex(({ key }) => key === pin.key);
		pin = shown[at];
		go(other);
	} else if (line) go(line.start + Math.min(at - lines[here].start, line.rows.length - 1));
};
const show = () => {
	const row = shown[at];
	const panes = (pin ? [pin, row] : [row]).map((row) => framed(ui.pane, row));
	ui.stage.replaceChildren(...panes);
	ui.compare.ariaPressed = !!pin;
	ui.place.textContent = `${at + 1} / ${shown.length}`;
	for (const button of all('[value]', view))
		button.ariaPressed = RegExp(button.value).test(markOf(row));

	ui.prompt.value = edits[row.key] ?? row.prompt;
	ui.prompt.readOnly = !promptOf(row.request);
	const facts = { ...row, cost: row.cost && usd(row.cost) };
	for (const { dataset, lastChild } of all('[data-fact]')) {
		lastChild.textContent = [facts[dataset.fact]].flat().join('\n');
	}
	ui.vars.replaceChildren(...head.variables.map((name, i) => copy(ui.fact, name, row.vars[i])));
};

// Makes a next job's manifest. Leaves out what can't be requested or has no price.
const manifest = (kind, options = Object.fromEntries(new FormData(ui.next))) => {
	const redo = kind === 'redo';
	const { lane = 'batch', model, size, reference } = redo ? { lane: options.lane } : options;
	const chosen = marked(redo ? /x/ : PICKS);
	const lines = [{ manifest: { version: 1, job: { name: `${head.job} ${kind}`, lane } } }];
	let micros = 0;
	for (const row of chosen) {
		const item = structuredClone(row.request);
		const target = head.models.find(({ id }) => id === model) ?? row.target;
		const price = target.prices[lane]?.[size || row.size || '1K'];
		const full = !link(row.image) || row.refs.length >= target.references;
		if (!item || !price || (reference && full)) continue;
		micros += price;
		lines.push(item);
		delete item.lane;
		if (redo) promptOf(item, edits[row.key]);
		else {
			const changes = [model && target.name, size, reference && 'ref'].filter(Boolean);
			const end = `-${changes.join('-') || 'again'}`;
			const key = row.key.slice(-200) + end; // At most 256 fit.
			for (const id in item) if (/key|id$/i.test(id) && item[id] === row.key) item[id] = key;
			if (item.output) item.output.path += end;
		}
		if (model) item.model = model;
		const { request } = item;
		if (size && request) ((request.generationConfig ??= {}).imageConfig ??= {}).imageSize = size;
		else if (size) item.image_size = size;
		if (!reference) continue;
		const fileUri = `s3://${head.manifest.split('/')[2]}/refs/${head.job}/${row.image}`;
		const mimeType = `image/${/(png|webp)$/.exec(fileUri)?.[1] ?? 'jpeg'}`;
		if (request) partsOf(item).unshift({ fileData: { mimeType, fileUri } });
		else item.refs = [fileUri, item.refs ?? []].flat();
	}
	const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
	const images = lines.length - 1;
	return { name: `${head.job}-${kind}.jsonl`, text, micros, images, of: chosen.length };
};
const quote = () => {
	for (const button of all('[name=manifest], [name=drop]')) {
		const { images, micros, of } = manifest(button.value);
		button.lastChild.textContent = `: ${usd(micros)} for ${images} of ${of}`;
		button.disabled = !images;
		if (darkroom.onDrop) button.hidden = false;
	}
};

// Returns the parts of an uncompressed zip archive.
const zip = (files) => {
	const wide = (number) => [number & 0xffff, number >>> 16];
	const [local, central] = [[], []];
	let offset = 0;
	for (const file of files) {
		const [name, data] = file.map((text) => new TextEncoder().encode(text));
		let sum = -1;
		for (const byte of data) {
			sum ^= byte;
			for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
		}
		const size = wide(data.length);
		const about = [20, 0x800, 0, 0, 0x21, ...wide(~sum), ...size, ...size, name.length, 0];
		local.push(Uint16Array.of(0x4b50, 0x403, ...about), name, data);
		central.push(Uint16Array.of(0x4b50, 0x201, 20, ...about, 0, 0, 0, 0, 0, ...wide(offset)), name);
		offset += 30 + name.length + data.length;
	}
	const sizes = [files.length, files.length, ...wide(new Blob(central).size), ...wide(offset)];
	return [...local, ...central, Uint16Array.of(0x4b50, 0x605, 0, 0, ...sizes, 0)];
};
// Spreadsheets run formulas at the beginning of a cell, and after a separator in it.
const FORMULA = /^(?=[;\s])|(?<=^|[;\t\n\r])(?=[\s\p{C}"]*[=+@−ー＝＋－＠ｰ﹢﹣﹦﹫-])/gu;
const cell = (text) => `"${text.replace(FORMULA, "'").replaceAll('"', '""')}"`;
const save = (name, parts) => {
	const href = URL.createObjectURL(new Blob(parts));
	Object.assign(ui.download, { href, download: `${head.job}-${name}` }).click();
};

const actions = {
	arrowleft: () => go(at - 1),
	arrowright: () => go(at + 1),
	arrowup: () => vertical(-1),
	arrowdown: () => vertical(1),
	enter: open,
	' ': () => (view.open ? ui.zoom.click() : open()),
	i: () => ui.info.click(),
	c: compare,
	'/': () => ui.find.focus(),
	'?': () => ui.help.showModal(),
	use: () => (quote(), ui.use.showModal()),
	edit: () => {
		ui.use.close();
		ui.mark.value = 'x';
		draw();
		open();
	},
	keys: () => save('picks.txt', marked(PICKS).map((row) => `${row.key}\n`)),
	csv: () => {
		const line = (row) => [row.key, word(markOf(row)), row.image, row.prompt].map(cell) + '\r\n';
		save('marks.csv', ['key,mark,image,prompt\r\n', ...marked(/./).map(line)]);
	},
	xmp: () => {
		const sidecar = ({ image, key }) => {
			const [rating, label] = marks[key] === 'x' ? [-1, 'Red'] : [+marks[key] || 0, 'Green'];
			const text = ui.xmp.value.replace('RATING', rating).replace('LABEL', label);
			return [image.replace(/\.\w+$/, '.xmp'), text];
		};
		save('xmp.zip', zip(marked(/./).filter(({ image }) => link(image)).map(sidecar)));
	},
	manifest: (kind) => save(`${kind}.jsonl`, [manifest(kind).text]),
	drop: (kind) => darkroom.onDrop(manifest(kind)),
};
for (const value of 'xp12345u0') actions[value] = () => mark(value.replace(/[u0]/, ''));

document.onclick = ({ target }) => {
	const { index, name, value } = target.closest('button') ?? {};
	if (index >= 0) open(index);
	else actions[name]?.(value);
};
document.onkeydown = (event) => {
	const { key, target, ctrlKey, altKey, metaKey } = event;
	const name = key.toLowerCase();
	const leave = target === ui.find && /^(enter|escape)$/.test(name);
	const action = leave ? go : actions[name];
	const off =
		target.closest('#panel, #filters, #prompt, .box') ||
		(/^( |enter)$/.test(name) && target.closest('button, input')) ||
		(/^\S$/.test(key) && !ui.letters.checked);
	if (!action || (off && !leave) || ctrlKey || altKey || metaKey) return;
	event.preventDefault();
	action();
};
ui.filters.oninput = () => {
	draw();
	tile.scrollIntoView({ block: 'nearest' });
};
ui.next.oninput = quote;
ui.prompt.oninput = () => {
	edits[shown[at].key] = ui.prompt.value;
	store(`${head.job}:prompts`, edits);
};
view.onclose = () => {
	pin = null;
	go(at);
};
onresize = draw;
main.onscroll = render;
onstorage = () => {
	marks = load(head.job);
	render();
};
ui.letters.checked = !load('keys').off;
ui.letters.onchange = () => store('keys', { off: !ui.letters.checked });

window.darkroom = {
	get head() { return head; },
	panel: ui.panel,
	manifests: { promote: manifest.bind(null, 'promote'), redo: manifest.bind(null, 'redo') },
	onDrop: null,
	async replace(text) {
		await read(new DOMParser().parseFromString(text, 'text/html'));
		if (view.open && shown[at]) show();
	},
};
read(document).catch(() => (ui.unreadable.hidden = false));
}
