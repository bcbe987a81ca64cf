// Starts the console: wires the sections to each other.
import { startAccess } from "./console/access.js";
import { startAsk } from "./console/ask.js";
import { startCollections } from "./console/collections.js";
import { startDocuments } from "./console/documents.js";
import { startLanguage } from "./console/i18n.js";

startLanguage(document.getElementById("language"));
const ask = startAsk();
const documents = startDocuments({ onVisible: ask.readWrite });
const collections = startCollections({
  onChoice: (collectionId) => {
    documents.choose(collectionId);
    ask.choose(collectionId);
  },
});
startAccess({ onToken: collections.load, onForget: collections.clear });
