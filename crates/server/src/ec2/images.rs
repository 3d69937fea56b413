//! The handler that lists images: those of the caller's project and public ones. Depends on
//! `control::images`.

use super::{Answered, date_of};
use crate::state::State;
use novanet_control::{Caller, ControlError, Kind};
use novanet_ec2::action::DescribeImages;
use novanet_ec2::filter;
use novanet_ec2::response::{DescribedImages, Image, ImageState};
use novanet_model::AmiId;

pub(super) async fn describe(state: &State, caller: &Caller, request: &DescribeImages) -> Answered {
    let mut images: Vec<Image> = state
        .cloud
        .images(caller)
        .await?
        .into_iter()
        .map(|image| Image {
            id: AmiId(image.id.0),
            location: image.digest,
            description: String::new(),
            owner: image
                .project
                .map_or_else(|| "nova".to_owned(), |p| p.to_string()),
            public: image.is_public,
            state: ImageState::Available,
            architecture: std::env::consts::ARCH.to_owned(),
            created: date_of(image.created_at),
            name: image.name,
        })
        .collect();
    for id in &request.ids {
        if !images.iter().any(|image| image.id == *id) {
            return Err(ControlError::NotFound {
                kind: Kind::Image,
                id: id.to_string(),
            }
            .into());
        }
    }
    let mine = caller.project.to_string();
    let owned = |image: &Image| {
        request.owners.is_empty()
            || request
                .owners
                .iter()
                .any(|owner| *owner == image.owner || (owner == "self" && image.owner == mine))
    };
    let runnable = |image: &Image| {
        request.executable_by.is_empty()
            || request
                .executable_by
                .iter()
                .any(|who| if who == "all" { image.public } else { true })
    };
    images.retain(|image| {
        (request.ids.is_empty() || request.ids.contains(&image.id))
            && owned(image)
            && runnable(image)
    });
    filter::retain(&request.filters, &mut images)?;
    let next_token = request.page.take(&mut images, |image| image.id.0);
    Ok(Box::new(DescribedImages { images, next_token }))
}
