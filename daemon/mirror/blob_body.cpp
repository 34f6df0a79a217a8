// SPDX-License-Identifier: Apache-2.0
#include "mirror/blob_body.hpp"

#include <algorithm>

namespace fallbackd::mirror {

boost::asio::awaitable<Result<std::string>> BlobBody::next() {
  turn_.reset();  // its client has taken the piece before
  co_await turns_->begin();
  turn_ = std::make_unique<Turn>(turns_);
  auto piece = co_await store_.read(digest_, at_, std::min(kPieceBytes, end_ - at_));
  if (!piece) co_return piece;
  at_ += static_cast<std::int64_t>(piece->size());
  count_(piece->size());
  co_return piece;
}

}  // namespace fallbackd::mirror
