// SPDX-License-Identifier: Apache-2.0
#include "mirror/offer.hpp"

#include <string_view>
#include <utility>

namespace fallbackd::mirror {

namespace asio = boost::asio;

namespace {

// containerd notes on a configuration which snapshot its layers were unpacked to, by snapshotter.
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
  auto why = missing("a manifest for this platform");
  for (const auto& one : forPlatform(index, platform)) {
    const auto text = co_await readManifest(store, one.digest);
    if (!text) {
      why = tl::unexpected<Error>(text.error());
      continue;
    }
    auto manifest = parseManifest(*text);
    if (!manifest || manifest->kind != Manifest::Kind::image) continue;
    const auto complete = co_await checkImage(store, std::move(*manifest));
    if (complete) co_return Result<>();
    why = tl::unexpected<Error>(complete.error());
  }
  co_return why;
}

asio::awaitable<Result<Offer>> offerOfDigest(cri::ImageStore& store, std::string digest, Platform platform) {
  FB_CO_TRY(auto text, co_await readManifest(store, digest));
  FB_CO_TRY(auto manifest, parseManifest(text));
  Offer offer{digest, manifest.mediaType, std::move(text), {}};
  if (manifest.kind == Manifest::Kind::index) {
    FB_CO_CHECK(co_await checkIndex(store, std::move(manifest), std::move(platform)));
  } else {
    FB_CO_CHECK(co_await checkImage(store, std::move(manifest)));
  }
  co_return offer;
}

}  // namespace

asio::awaitable<Result<Offer>> offerOf(cri::ImageStore& store, ImageReference reference, Platform platform) {
  if (!reference.digest().empty()) {
    co_return co_await offerOfDigest(store, reference.digest(), std::move(platform));
  }
  FB_CO_TRY(const auto image, co_await store.image(reference.toString()));
  FB_CO_TRY(auto offer, co_await offerOfDigest(store, image.digest, std::move(platform)));
  // What the manifest itself does not say, whoever stored it knew.
  if (!image.mediaType.empty()) offer.mediaType = image.mediaType;
  offer.updatedAt = image.updatedAt;
  co_return offer;
}

}  // namespace fallbackd::mirror
