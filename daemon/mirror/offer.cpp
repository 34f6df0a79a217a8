// SPDX-License-Identifier: Apache-2.0
#include "mirror/offer.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace fallbackd::mirror {

namespace asio = boost::asio;

namespace {

// Tags of one repository on one node.
constexpr std::size_t kMaxNames = 64;
// containerd records in a configuration's labels to which snapshot its layers were unpacked, by snapshotter.
constexpr std::string_view kSnapshotLabel = "containerd.io/gc.ref.snapshot.";

tl::unexpected<Error> missing(const std::string& what) {
  return fail(Stage::containerd, Reason::not_found, what);
}

asio::awaitable<Result<std::string>> readManifest(cri::ImageStore& store, std::string digest) {
  FB_CO_TRY(const auto entry, co_await store.content(digest));
  if (entry.size > kMaxManifestBytes) {
    co_return fail(Stage::containerd, Reason::invalid, digest + " is too large for a manifest");
  }
  co_return co_await store.read(digest, 0, entry.size);
}

asio::awaitable<Result<bool>> isStored(cri::ImageStore& store, std::string digest) {
  const auto entry = co_await store.content(std::move(digest));
  if (entry) co_return true;
  if (entry.error().reason == Reason::not_found) co_return false;
  co_return tl::unexpected<Error>(entry.error());
}

asio::awaitable<Result<bool>> isUnpacked(cri::ImageStore& store, cri::StoredContent config) {
  for (const auto& [label, chain] : config.labels) {
    if (!label.starts_with(kSnapshotLabel)) continue;
    FB_CO_TRY(const bool there, co_await store.snapshotExists(label.substr(kSnapshotLabel.size()), chain));
    if (there) co_return true;
  }
  co_return false;
}

/// Reason not_found if something is missing.
asio::awaitable<Result<>> checkImage(cri::ImageStore& store, Manifest manifest) {
  auto config = co_await store.content(manifest.config.digest);
  if (!config) {
    config.error().context += " (the configuration)";
    co_return tl::unexpected<Error>(config.error());
  }
  FB_CO_TRY(const bool unpacked, co_await isUnpacked(store, std::move(*config)));
  if (unpacked) co_return Result<>();
  for (const auto& layer : manifest.layers) {
    FB_CO_TRY(const bool stored, co_await isStored(store, layer.digest));
    if (!stored) co_return missing("layer " + layer.digest + ", which is not unpacked either");
  }
  co_return Result<>();
}

asio::awaitable<Result<>> checkIndex(cri::ImageStore& store, Manifest index, Platform platform) {
  const auto found = forPlatform(index, platform);
  if (found.empty()) co_return missing("a manifest for this platform");
  // containerd takes the best match and no other.
  FB_CO_TRY(const auto text, co_await readManifest(store, found.front().digest));
  FB_CO_TRY(auto manifest, parseManifest(text));
  if (manifest.kind != Manifest::Kind::image) co_return missing("a manifest for this platform");
  co_return co_await checkImage(store, std::move(manifest));
}

std::vector<std::string> partsOf(const Manifest& manifest) {
  std::vector<std::string> digests;
  for (const auto& one : manifest.manifests) digests.push_back(one.digest);
  for (const auto& one : manifest.layers) digests.push_back(one.digest);
  if (manifest.kind == Manifest::Kind::image) digests.push_back(manifest.config.digest);
  return digests;
}

/// Whether the manifest, or that of this platform in an index, names the digest. What cannot be read names
/// nothing.
asio::awaitable<bool> isNamedBy(cri::ImageStore& store, std::string manifest, std::string digest,
                                Platform platform) {
  const auto names = [&](const Manifest& one) {
    const auto parts = partsOf(one);
    return std::find(parts.begin(), parts.end(), digest) != parts.end();
  };
  const auto text = co_await readManifest(store, std::move(manifest));
  const auto outer = text ? parseManifest(*text) : Result<Manifest>(tl::unexpected<Error>(text.error()));
  if (!outer) co_return false;
  if (names(*outer)) co_return true;
  if (outer->kind != Manifest::Kind::index) co_return false;
  const auto found = forPlatform(*outer, platform);
  if (found.empty()) co_return false;
  const auto innerText = co_await readManifest(store, found.front().digest);
  if (!innerText) co_return false;
  const auto inner = parseManifest(*innerText);
  co_return inner&& names(*inner);
}

asio::awaitable<Result<Offer>> offerOfDigest(cri::ImageStore& store, std::string digest, Platform platform) {
  FB_CO_TRY(auto text, co_await readManifest(store, digest));
  FB_CO_TRY(auto manifest, parseManifest(text));
  Offer offer{digest, manifest.mediaType, std::move(text), {}, partsOf(manifest)};
  if (manifest.kind == Manifest::Kind::index) {
    FB_CO_CHECK(co_await checkIndex(store, std::move(manifest), std::move(platform)));
  } else {
    FB_CO_CHECK(co_await checkImage(store, std::move(manifest)));
  }
  co_return offer;
}

}  // namespace

asio::awaitable<Result<>> checkRepository(cri::ImageStore& store, std::string repository, std::string digest,
                                          Platform platform) {
  FB_CO_TRY(auto named, co_await store.ofRepository(repository));
  for (const auto& one : named) {
    if (one.digest == digest) co_return Result<>();
  }
  if (named.size() > kMaxNames)
    named.erase(named.begin(), named.end() - kMaxNames);  // the last may be the newest
  for (const auto& one : named) {
    const bool isPart = co_await isNamedBy(store, one.digest, digest, platform);
    if (isPart) co_return Result<>();
  }
  co_return missing(digest + " in an image of " + repository);
}

asio::awaitable<Result<Offer>> offerOf(cri::ImageStore& store, ImageReference reference, Platform platform) {
  if (!reference.digest().empty()) {
    FB_CO_CHECK(co_await checkRepository(store, reference.repository(), reference.digest(), platform));
    co_return co_await offerOfDigest(store, reference.digest(), std::move(platform));
  }
  FB_CO_TRY(const auto image, co_await store.image(reference.toString()));
  FB_CO_TRY(auto offer, co_await offerOfDigest(store, image.digest, std::move(platform)));
  // The manifest itself may not name its media type; the image store does.
  if (!image.mediaType.empty()) offer.mediaType = image.mediaType;
  offer.updatedAt = image.updatedAt;
  co_return offer;
}

}  // namespace fallbackd::mirror
