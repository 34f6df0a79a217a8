// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_image_store.hpp"

#include "content.grpc.pb.h"
#include "cri/call.hpp"
#include "cri/grpc_error.hpp"
#include "cri/grpc_messages.hpp"
#include "images.grpc.pb.h"
#include "snapshots.grpc.pb.h"

#include <chrono>
#include <utility>

namespace fallbackd::cri {

namespace {

namespace blobs = ::containerd::services::content::v1;
namespace names = ::containerd::services::images::v1;
namespace layers = ::containerd::services::snapshots::v1;

constexpr std::chrono::seconds kStoreDeadline{10};

StoredImage toImage(const names::Image& image) {
  return {image.target().media_type(), image.target().digest(), image.target().size(),
          toTime(image.updated_at())};
}

/// For a regular expression within the quotes of a filter. Repositories have no other characters with a
/// meaning there.
std::string literal(const std::string& repository) {
  std::string text;
  for (const char c : repository) {
    const bool special = c == '.' || c == '[' || c == ']';
    text += special ? std::string("[") + c + "]" : std::string(1, c);
  }
  return text;
}

class GrpcImageStore final : public ImageStore {
 public:
  GrpcImageStore(const std::shared_ptr<grpc::Channel>& channel, std::string containerdNamespace)
      : images_(names::Images::NewStub(channel)),
        content_(blobs::Content::NewStub(channel)),
        snapshots_(layers::Snapshots::NewStub(channel)),
        options_{kStoreDeadline, std::move(containerdNamespace)} {}

  Answer<StoredImage> image(std::string name) override {
    names::GetImageRequest request;
    request.set_name(name);
    const auto call = co_await unary<names::GetImageResponse>(
        request, options_, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->Get(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Images.Get", call.status);
    co_return toImage(call.response.image());
  }

  Answer<std::vector<StoredImage>> ofRepository(std::string repository) override {
    names::ListImagesRequest request;
    request.add_filters("name~=\"^" + literal(repository) + "[:@]\"");
    const auto call = co_await unary<names::ListImagesResponse>(
        request, options_, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->List(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Images.List", call.status);
    std::vector<StoredImage> all;
    for (const auto& one : call.response.images()) all.push_back(toImage(one));
    co_return all;
  }

  Answer<StoredContent> content(std::string digest) override {
    blobs::InfoRequest request;
    request.set_digest(std::move(digest));
    const auto call = co_await unary<blobs::InfoResponse>(
        request, options_, [this](auto* context, auto* query, auto* response, auto done) {
          content_->async()->Info(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Content.Info", call.status);
    co_return StoredContent{call.response.info().size(), toLabels(call.response.info().labels())};
  }

  Answer<std::string> read(std::string digest, std::int64_t offset, std::int64_t size) override {
    blobs::ReadContentRequest request;
    request.set_digest(std::move(digest));
    request.set_offset(offset);
    request.set_size(size);
    auto call = co_await serverStream<blobs::ReadContentResponse>(
        request, options_, [this](auto* context, auto* query, auto* reactor) {
          content_->async()->Read(context, query, reactor);
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Content.Read", call.status);
    std::string bytes;
    for (auto& part : call.response) bytes += part.data();
    co_return bytes;
  }

  Answer<bool> snapshotExists(std::string snapshotter, std::string key) override {
    layers::StatSnapshotRequest request;
    request.set_snapshotter(std::move(snapshotter));
    request.set_key(std::move(key));
    const auto call = co_await unary<layers::StatSnapshotResponse>(
        request, options_, [this](auto* context, auto* query, auto* response, auto done) {
          snapshots_->async()->Stat(context, query, response, std::move(done));
        });
    if (call.status.error_code() == grpc::StatusCode::NOT_FOUND) co_return false;
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Snapshots.Stat", call.status);
    co_return true;
  }

 private:
  std::unique_ptr<names::Images::StubInterface> images_;
  std::unique_ptr<blobs::Content::StubInterface> content_;
  std::unique_ptr<layers::Snapshots::StubInterface> snapshots_;
  CallOptions options_;
};

}  // namespace

std::unique_ptr<ImageStore> makeImageStore(const std::shared_ptr<grpc::Channel>& channel,
                                           std::string containerdNamespace) {
  return std::make_unique<GrpcImageStore>(channel, std::move(containerdNamespace));
}

}  // namespace fallbackd::cri
