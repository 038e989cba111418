import { LabIcon } from '@jupyterlab/ui-components';

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
<g class="jp-icon3" fill="#616161"><path d="M2 5h2v16H2zM5 7h16a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H5zm2 2v6h13V9z"/>
<path d="M13.5 8.6a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8zm0 2a1.4 1.4 0 1 1 0 2.8 1.4 1.4 0 0 1 0-2.8z"/>
<path d="M7 18h3v2H7zM11 18h6v2h-6z"/></g></svg>`;

export const gpuIcon = new LabIcon({ name: 'gpunb:gpu', svgstr: svg });
